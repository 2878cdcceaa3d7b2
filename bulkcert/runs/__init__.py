"""What the commands do: each module prepares, executes and finalizes one of them; nothing here prints."""
