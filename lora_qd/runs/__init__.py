"""One experiment: its config, the loop, the final table. Knows no command line."""
