"""Takes a video in and starts its job."""
