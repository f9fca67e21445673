-- Customers, cards and replacements to talk about; every one is invented. Idempotent: a row that exists stays as it is.
-- One row a line, in literals that SQL and Python read alike: db/seed.py reads this same file.

INSERT INTO users (user_id, full_name, phone, email, address) VALUES
    (1, 'Amelia Okafor', '+15035550107', 'amelia.okafor@example.com', '12 Harbour Lane, Portland, OR 97201'),
    (2, 'Marcus Lindqvist', '+15035550114', 'marcus.lindqvist@example.com', '480 Juniper Street, Madison, WI 53703'),
    (3, 'Dana Whitfield', '+15035550121', 'dana.whitfield@example.com', '77 Alder Court, Denver, CO 80203'),
    (4, 'Priya Raman', '+15035550128', 'priya.raman@example.com', '9 Mill Road, Savannah, GA 31401'),
    (5, 'Tomas Herrera', '+15035550135', 'tomas.herrera@example.com', '1530 Cypress Avenue, Tampa, FL 33606'),
    (6, 'Ingrid Solberg', '+15035550142', 'ingrid.solberg@example.com', '21 North Quay, Duluth, MN 55802'),
    (7, 'Kwame Boateng', '+15035550149', 'kwame.boateng@example.com', '640 Palmetto Drive, Charleston, SC 29401'),
    (8, 'Lucia Moretti', '+15035550156', 'lucia.moretti@example.com', '35 Vine Street, Napa, CA 94559'),
    (9, 'Henrik Vogel', '+15035550163', 'henrik.vogel@example.com', '818 Kestrel Way, Boise, ID 83702'),
    (10, 'Yara Haddad', '+15035550170', 'yara.haddad@example.com', '5 Orchard Close, Ithaca, NY 14850'),
    (11, 'Samuel Pryce', '+15035550177', 'samuel.pryce@example.com', '203 Prospect Hill, Providence, RI 02906'),
    (12, 'Noor Siddiqui', '+15035550184', 'noor.siddiqui@example.com', '66 Lantern Row, Dearborn, MI 48124'),
    (13, 'Elena Petrova', '+15035550191', 'elena.petrova@example.com', '1101 Birch Terrace, Anchorage, AK 99501'),
    (14, 'Jonah Feldman', '+15035550198', 'jonah.feldman@example.com', '340 Maple Square, Evanston, IL 60201'),
    (15, 'Mei Tanaka', '+15035550205', 'mei.tanaka@example.com', '58 Garden Mews, Seattle, WA 98109'),
    (16, 'Rafael Cardoso', '+15035550212', 'rafael.cardoso@example.com', '712 Bayside Street, Fall River, MA 02721'),
    (17, 'Beatrix Nowak', '+15035550219', 'beatrix.nowak@example.com', '19 Foundry Lane, Milwaukee, WI 53207'),
    (18, 'Oluwaseun Adeyemi', '+15035550226', 'oluwaseun.adeyemi@example.com', '255 Peachtree Walk, Atlanta, GA 30308'),
    (19, 'Clara Jensen', '+15035550233', 'clara.jensen@example.com', '4 Tidewater Place, Norfolk, VA 23510'),
    (20, 'Victor Almeida', '+15035550240', 'victor.almeida@example.com', '930 Mission Street, San Antonio, TX 78204'),
    (21, 'Hannah Brandt', '+15035550247', 'hannah.brandt@example.com', '27 Elm Crescent, Cincinnati, OH 45202'),
    (22, 'Idris Kamau', '+15035550254', 'idris.kamau@example.com', '601 Summit Drive, Spokane, WA 99201'),
    (23, 'Sofia Marchetti', '+15035550261', 'sofia.marchetti@example.com', '144 Fountain Street, Hoboken, NJ 07030'),
    (24, 'Walter Quigley', '+15035550268', 'walter.quigley@example.com', '8 Chapel Bend, Galway, MO 65656')
ON CONFLICT DO NOTHING;

INSERT INTO cards (card_id, user_id, last4, kind, status, expires) VALUES
    (1, 1, '1881', 'debit', 'active', '2029-03-31'),
    (2, 1, '7302', 'credit', 'active', '2028-11-30'),
    (3, 2, '5519', 'debit', 'active', '2030-01-31'),
    (4, 2, '0046', 'credit', 'frozen', '2028-06-30'),
    (5, 3, '4242', 'debit', 'active', '2029-09-30'),
    (6, 3, '6110', 'credit', 'active', '2030-04-30'),
    (7, 4, '9087', 'debit', 'active', '2028-12-31'),
    (8, 5, '3364', 'debit', 'cancelled', '2028-08-31'),
    (9, 5, '2750', 'debit', 'active', '2032-08-31'),
    (10, 6, '8128', 'credit', 'active', '2029-02-28'),
    (11, 7, '4477', 'debit', 'cancelled', '2028-05-31'),
    (12, 7, '1593', 'debit', 'active', '2032-05-31'),
    (13, 8, '6021', 'credit', 'cancelled', '2028-10-31'),
    (14, 8, '7416', 'credit', 'active', '2032-10-31'),
    (15, 9, '3908', 'debit', 'frozen', '2029-07-31'),
    (16, 10, '5150', 'debit', 'active', '2030-03-31'),
    (17, 10, '8833', 'credit', 'active', '2029-05-31'),
    (18, 11, '9999', 'debit', 'active', '2028-09-30'),
    (19, 12, '1204', 'debit', 'active', '2029-12-31'),
    (20, 12, '5519', 'credit', 'active', '2030-06-30'),
    (21, 13, '0707', 'debit', 'cancelled', '2028-04-30'),
    (22, 13, '2468', 'debit', 'active', '2030-08-31'),
    (23, 14, '6655', 'credit', 'active', '2029-01-31'),
    (24, 15, '3141', 'debit', 'active', '2031-02-28'),
    (25, 15, '2718', 'credit', 'frozen', '2030-07-31'),
    (26, 16, '4096', 'debit', 'active', '2029-10-31'),
    (27, 17, '8080', 'debit', 'active', '2028-07-31'),
    (28, 18, '1729', 'credit', 'active', '2030-11-30'),
    (29, 18, '6174', 'debit', 'active', '2030-02-28'),
    (30, 19, '0451', 'debit', 'active', '2029-04-30'),
    (31, 20, '9311', 'credit', 'cancelled', '2028-03-31'),
    (32, 20, '7007', 'debit', 'active', '2030-09-30'),
    (33, 21, '1066', 'debit', 'active', '2031-01-31'),
    (34, 22, '5843', 'debit', 'active', '2029-08-31'),
    (35, 22, '8128', 'credit', 'active', '2030-12-31'),
    (36, 23, '3690', 'credit', 'frozen', '2029-06-30'),
    (37, 24, '7550', 'debit', 'active', '2030-05-31')
ON CONFLICT DO NOTHING;

INSERT INTO replacements (replacement_id, user_id, old_card_id, new_card_id, status, requested_at, updated_at) VALUES
    (1, 5, 8, 9, 'requested', '2026-01-12 09:30:00+00:00', '2026-01-12 09:30:00+00:00'),
    (2, 7, 11, 12, 'mailed', '2026-01-05 14:10:00+00:00', '2026-01-07 08:00:00+00:00'),
    (3, 8, 13, 14, 'delivered', '2025-12-01 16:45:00+00:00', '2025-12-09 11:20:00+00:00')
ON CONFLICT DO NOTHING;

-- New rows go on behind the seeded ones, and never before those a running program has made.
SELECT setval(sequence, GREATEST((SELECT max(user_id) FROM users), pg_sequence_last_value(sequence)))
    FROM (SELECT pg_get_serial_sequence('users', 'user_id')::regclass AS sequence) AS of_users;
SELECT setval(sequence, GREATEST((SELECT max(card_id) FROM cards), pg_sequence_last_value(sequence)))
    FROM (SELECT pg_get_serial_sequence('cards', 'card_id')::regclass AS sequence) AS of_cards;
SELECT setval(sequence, GREATEST((SELECT max(replacement_id) FROM replacements), pg_sequence_last_value(sequence)))
    FROM (SELECT pg_get_serial_sequence('replacements', 'replacement_id')::regclass AS sequence) AS of_replacements;
