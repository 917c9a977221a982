"""What every access to a file shares."""
