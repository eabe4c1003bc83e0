-- Lanes without a destination, by name. Walks the primary key.
SELECT lane FROM removed ORDER BY lane;
