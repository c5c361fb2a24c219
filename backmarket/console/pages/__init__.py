"""One file for each noun: what its pages show, and what their forms do."""
