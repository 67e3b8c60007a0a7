-- One row a bought product, of all baskets whose first purchase lies in the window: a basket is never split,
-- even if the till closed it after the window's end. Times are stored as text in UTC; the window gets their shape.
{% set start = window_start.strftime('%Y-%m-%d %H:%M:%S') %}
{% set end = window_end.strftime('%Y-%m-%d %H:%M:%S') %}
SELECT basket_id AS session_id, product_id AS identity, household_id AS user_id, transaction_timestamp AS created_at
FROM transactions
WHERE basket_id IN (
    SELECT basket_id
    FROM transactions
    WHERE transaction_timestamp >= '{{ start }}' AND transaction_timestamp < '{{ end }}'
)
AND NOT EXISTS (
    SELECT 1
    FROM transactions AS earlier
    WHERE earlier.basket_id = transactions.basket_id AND earlier.transaction_timestamp < '{{ start }}'
)
