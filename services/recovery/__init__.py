"""Repairs: records from the log, the log from the records, and copies of the records in a file."""
