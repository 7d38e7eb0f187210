"""Images and deployments; nothing here is imported by modit."""
