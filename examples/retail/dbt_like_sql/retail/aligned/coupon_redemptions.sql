-- One row per coupon handed in. The file has the day and no hour, so it is known when the day is over.
select
    redemptions.household_id,
    redemptions.campaign_id,
    redemptions.redemption_date + interval 1 day as redemption_date
from validated.coupon_redemptions as redemptions
order by redemptions.redemption_date, redemptions.household_id, redemptions.coupon_upc
