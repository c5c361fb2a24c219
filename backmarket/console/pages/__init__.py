"""The pages and their forms, one file for each noun."""
