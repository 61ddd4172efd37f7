-- One row per player who got votes for an award of a season.
select
    votes.playerID,
    votes.yearID,
    votes.awardID,
    votes.lgID,
    votes.awardID as award,
    votes.pointsWon as points,
    votes.pointsWon / nullif(votes.pointsMax, 0) as share_of_points,
    votes.votesFirst as first_places,
    rank() over (
        partition by votes.yearID, votes.awardID, votes.lgID order by votes.pointsWon desc
    ) as place,
    make_timestamp(votes.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.AwardsSharePlayers as votes
order by votes.playerID, votes.yearID, votes.awardID, votes.lgID
