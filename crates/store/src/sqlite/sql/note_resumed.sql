-- Notes when a destination was last resumed, if it is paused. By the primary keys.
INSERT INTO resumed (lane, at) SELECT lane, :at FROM switches WHERE lane = :lane
ON CONFLICT (lane) DO UPDATE SET at = excluded.at;
