-- One row per household and campaign it was sent; known when the campaign begins.
select
    sent.campaign_id,
    sent.household_id,
    campaigns.start_date
from validated.campaigns as sent
inner join validated.campaign_descriptions as campaigns on sent.campaign_id = campaigns.campaign_id
order by sent.campaign_id, sent.household_id
