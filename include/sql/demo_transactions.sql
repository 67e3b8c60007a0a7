-- One row a bought product of the window, which is half open. It is wider than the run's own window, so that a basket
-- that was paid over its border comes whole; which baskets belong to the run is decided when the files are built.
-- Times are stored as text in UTC; the window gets their shape.
SELECT basket_id AS session_id, product_id AS identity, household_id AS user_id, transaction_timestamp AS created_at
FROM transactions
WHERE transaction_timestamp >= '{{ window_start.strftime('%Y-%m-%d %H:%M:%S') }}'
    AND transaction_timestamp < '{{ window_end.strftime('%Y-%m-%d %H:%M:%S') }}'
