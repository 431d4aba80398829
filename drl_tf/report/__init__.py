"""The page of a run, `report.html`: one file that shows what the run has left on disk, without a network."""
