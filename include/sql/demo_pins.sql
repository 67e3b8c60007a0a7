-- One pin a row: in the newsletter, who gets a best seller recommended sees its most frequent companion first.
SELECT
    'mail-basket' AS model,
    'item' AS target_type,
    product_id AS target_identity,
    'item' AS pin_type,
    companion AS pin_identity,
    position
FROM pinned_products
ORDER BY product_id, position
