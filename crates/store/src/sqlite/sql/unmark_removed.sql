-- Takes away the marks of one lane, or of all (NULL). By the primary key where the lane is given.
DELETE FROM removed WHERE :lane IS NULL OR lane = :lane;
