-- Marks a lane as one without a destination. By the primary key.
INSERT INTO removed (lane) VALUES (:lane) ON CONFLICT (lane) DO NOTHING;
