-- A coupon handed in before its campaign began would tell of a campaign that nobody knew.
select redemptions.household_id, redemptions.redemption_date
from aligned.coupon_redemptions as redemptions
inner join aligned.campaign_descriptions as campaigns
    on redemptions.campaign_id = campaigns.campaign_id
where redemptions.redemption_date <= campaigns.start_date
