/** This tab's place, if it holds one. */
export class Slot {
    /** Take a free place, unless one is held. Returns whether an event stream may be opened now. */
    take(): Promise<boolean>;
    release(): void;
    #private;
}
