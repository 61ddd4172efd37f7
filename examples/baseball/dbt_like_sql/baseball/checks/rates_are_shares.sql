-- What is a share of something lies between zero and one.
select batting.playerID, batting.yearID
from aligned.Batting as batting
where
    batting.batting_average not between 0 and 1
    or batting.on_base not between 0 and 1
    or batting.slugging not between 0 and 4
