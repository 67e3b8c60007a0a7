-- The households a campaign was sent to (13, unless the run says campaign_id), and the newsletter sign-ups.
SELECT household_id, CAST(household_id AS TEXT) AS auth_user_id
FROM campaigns
WHERE campaign_id = {{ params.campaign_id | default(13) | int }}
UNION ALL
SELECT household_id, customer_id AS auth_user_id
FROM newsletter_signups
