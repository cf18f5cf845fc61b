"""The laptop supervisor behind `forebay up` and `forebay demo`: every process of the platform under one parent."""
