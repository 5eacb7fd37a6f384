//! The traits through which time, entropy, secrets, storage and bytes come in, and their std implementations.
