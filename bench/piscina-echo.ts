import echo from '../config/functions/echo.ts';

/** The sample function as a task of piscina. */
export default (event: Parameters<typeof echo>[0]): unknown => echo(event);
