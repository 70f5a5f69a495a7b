/**
 * The number in a position: `14-9f3ac1d20b7e4455` is 14, and `0-0`, before the first update, is 0.
 *
 * @param {string} position
 */
export function offset(position: string): number;
/** A page's positions, by stream. All transports share them. */
export class Positions {
    /** @param {Record<string, string>} initial */
    constructor(initial: Record<string, string>);
    /** @param {string} stream */
    get(stream: string): string | undefined;
    /**
     * Set a position, whatever the last one was. Only updates after it are applied.
     *
     * @param {string} stream
     * @param {string} position
     */
    move(stream: string, position: string): void;
    /**
     * Advance to an update. "next": the position has moved, apply the update; "double": it was applied before; "gap": an
     * earlier update is missing, and the position has not moved.
     *
     * @param {string} stream
     * @param {string} position
     * @returns {"next" | "double" | "gap"}
     */
    step(stream: string, position: string): "next" | "double" | "gap";
    /** As an object. */
    all(): {
        [k: string]: string;
    };
    /** In the syntax of the parameter `since`. */
    toString(): string;
    #private;
}
