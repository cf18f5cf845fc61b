"""The servers that come with the installation, started by `forebay up` as plain child processes."""
