-- One row per campaign; how long it will last is announced with it.
select
    campaigns.campaign_id,
    campaigns.campaign_type,
    date_diff('day', campaigns.start_date, campaigns.end_date) as days,
    campaigns.start_date
from validated.campaign_descriptions as campaigns
order by campaigns.campaign_id
