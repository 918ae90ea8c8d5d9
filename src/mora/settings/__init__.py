"""Configuration: composition, the check of every key before anything is loaded, launching, identity.  No torch here."""
