"""Writes the page of a run, `report.html`: one file, readable offline, with the results of the run."""
