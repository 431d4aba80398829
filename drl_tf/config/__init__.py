"""The options of a run: their bounds, their help texts, and which of them go together."""
