-- What a household bought of a product in one visit is one interaction of the second recommender. Times are stored as
-- text in UTC.
SELECT
    household_id AS user_id,
    product_id AS item_id,
    transaction_timestamp AS timestamp,
    ROUND(SUM(sales_value), 2) AS price,
    SUM(quantity) AS amount
FROM transactions
WHERE transaction_timestamp >= '{{ window_start.strftime('%Y-%m-%d %H:%M:%S') }}'
  AND transaction_timestamp < '{{ window_end.strftime('%Y-%m-%d %H:%M:%S') }}'
GROUP BY household_id, product_id, transaction_timestamp
