-- Makes a prepared file the live one.
INSERT INTO period (id, head, begun_at) VALUES (1, :head, :begun_at);
