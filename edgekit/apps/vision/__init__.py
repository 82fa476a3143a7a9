"""What apps that look at pictures share: models that take frames, alignment, video, drawing."""
