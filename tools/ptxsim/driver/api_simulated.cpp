// How a program tells this driver from a real one: no real driver exports this function. What a
// device computes here is as good as there, but its times say nothing of a GPU.
extern "C" {

int platenSimulatedDriver(void);
int platenSimulatedDriver(void) { return 1; }

} // extern "C"
