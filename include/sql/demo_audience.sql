-- Everybody who bought something, and everybody who signed up for the newsletter by hand.
-- household_id is the partition key; it is not staged.
SELECT household_id, CAST(household_id AS TEXT) AS auth_user_id
FROM households
UNION ALL
SELECT household_id, customer_id AS auth_user_id
FROM newsletter_signups
