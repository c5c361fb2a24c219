-- Metrics ask for the oldest wanted label at every scrape.
CREATE INDEX labels_oldest ON backmarket.labels (noted_at) WHERE state = 'wanted';
