-- One row per award; announced in autumn, so known when the year is over. Awards given fewer than
-- twenty times are one kind.
select
    awards.playerID,
    if(
        count(*) over (partition by lower(awards.awardID)) < 20, 'other', lower(awards.awardID)
    ) as award,
    awards.lgID as league,
    awards.tie is not null as shared,
    make_timestamp(awards.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.AwardsPlayers as awards
order by awards.playerID, awards.yearID, awards.awardID, awards.lgID, awards.notes
