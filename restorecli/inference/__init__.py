"""From a photo and a weights file to the restored photo: tiles, backends, and many photos at once."""
