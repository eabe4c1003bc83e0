-- Resumes a destination. By the primary key.
DELETE FROM switches WHERE lane = :lane;
