// What variant a says.
export const variant = "a";
export const greeting = "Good morning.";
export const items = ["fern", "moss", "palm"];
