-- A household that is asked about has bought before.
select asked.household_id, asked.cutoff
from aligned.next_spend as asked
left join aligned.transactions as past
    on asked.household_id = past.household_id and past.transaction_timestamp <= asked.cutoff
group by asked.household_id, asked.cutoff
having count(past.basket_id) = 0
