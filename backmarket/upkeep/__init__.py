"""What is done now and then: partitions, erasure, and the objects in the bucket that nothing needs."""
