"""What a person is shown before deciding. Nothing here decides."""
