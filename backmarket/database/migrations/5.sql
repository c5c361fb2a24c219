-- Since when a task has had a status that is not explained.
ALTER TABLE backmarket.bulk_parts RENAME COLUMN odd_since TO unexplained_since;
