-- One purchase a row, as interactions of the second recommender. Times are stored as text in UTC.
SELECT household_id AS user_id, product_id AS item_id, transaction_timestamp AS timestamp, sales_value AS price, quantity AS amount
FROM transactions
WHERE transaction_timestamp >= '{{ window_start.strftime('%Y-%m-%d %H:%M:%S') }}'
  AND transaction_timestamp < '{{ window_end.strftime('%Y-%m-%d %H:%M:%S') }}'
