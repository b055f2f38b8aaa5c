/*
 * Forced into every kernel source by the build: all symbols, also those only declared, lie in this one image, so that
 * position-independent code reaches them directly and no global offset table is needed.
 */
#pragma GCC visibility push(hidden)
