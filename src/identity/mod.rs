//! Is this peer the device that it says it is?
