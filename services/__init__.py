"""What runs as a process or is shared by those that do: settings, the error table, server lifecycle, the gateway."""
