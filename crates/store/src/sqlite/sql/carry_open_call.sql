-- Takes an open call over from the file before.
INSERT INTO open_calls (sequence, frame) VALUES (:sequence, :frame);
