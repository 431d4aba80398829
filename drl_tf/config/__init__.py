"""The options of a run: bounds, defaults, help texts, and the combinations that are refused."""
