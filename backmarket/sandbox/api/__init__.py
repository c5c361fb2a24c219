"""The sandbox's answers: the API's paths, its limits and its faults, over the world's data."""
