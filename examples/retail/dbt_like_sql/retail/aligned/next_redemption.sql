-- Does a household hand in a coupon in the next four weeks? Asked every four weeks about households
-- that were sent a campaign which has begun and has not ended.
with asked as (
    select distinct cutoffs.cutoff, sent.household_id
    from aligned.cutoffs_redeem as cutoffs
    inner join validated.campaign_descriptions as campaigns
        on campaigns.start_date <= cutoffs.cutoff and campaigns.end_date > cutoffs.cutoff
    inner join aligned.campaigns as sent on campaigns.campaign_id = sent.campaign_id
    inner join aligned.households as households on sent.household_id = households.household_id
)

select
    asked.household_id,
    asked.cutoff,
    cast(count(redeemed.redemption_date) > 0 as integer) as label
from asked
left join validated.coupon_redemptions as redeemed
    on asked.household_id = redeemed.household_id
    and redeemed.redemption_date >= asked.cutoff
    and redeemed.redemption_date < asked.cutoff + interval 28 day
group by asked.household_id, asked.cutoff
order by asked.cutoff, asked.household_id
